"""What the server does with the updates it receives: transports, screens, rules."""
