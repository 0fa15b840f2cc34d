from small_runs import quick_judging as quick_judging  # a fixture of all tests here
