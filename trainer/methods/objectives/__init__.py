"""What is optimised: losses and estimators of mutual information, as pure functions of tensors."""
