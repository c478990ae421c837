"""A host with a shell, this one or one behind ssh: commands, small files, our directory, forwarded sockets."""
