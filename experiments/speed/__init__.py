"""How fast are the rules, against the floor of the machine and against other libraries?"""
