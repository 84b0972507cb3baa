"""The verbs: every module here is one, and holds its click command as `command`.

`SECTION` names its heading in the help. Nothing heavy is imported at a module's top, since the help imports them all.
"""
