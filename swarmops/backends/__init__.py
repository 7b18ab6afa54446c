"""What turns a host into something that serves the Docker Engine API on a unix socket.

One module a backend; ``base`` is the contract, ``hostside`` holds the programs that run on hosts.
"""
