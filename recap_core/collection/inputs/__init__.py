"""What an operator presses: keyboard, pedal, gamepad, socket and script, as requests."""
