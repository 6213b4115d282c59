"""`check_vjp`: is a custom gradient right, and if not, where and in what way?"""
