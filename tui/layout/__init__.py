"""Records to lines of styled text: pure functions and data, without Textual."""
