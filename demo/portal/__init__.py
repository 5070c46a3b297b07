"""The demo's tax portal: the third party whose web site the robots work on.

Owns: its pages, its certificates and its record of what was submitted. Called by: robots' browsers; tests and
`demo.run` through the `/_demo` switches. Survives a crash: submissions and sessions (SQLite) and the PKI.
Change also: demo/workflow (selectors name this portal's elements) and tests/demo.
"""
