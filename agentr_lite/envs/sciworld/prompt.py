"""The system prompts for ScienceWorld, in our own words."""

from __future__ import annotations

INSTRUCTIONS = """\
You are in a small world of rooms, with objects, tools, plants and animals, in which experiments \
of elementary science can be done. The first message gives a task. Its steps earn parts of the \
score; the last one ends the game.

Write two lines each turn:
Thought: what you know, what is still to be found out, and what to do next
Action: exactly one action

Actions; OBJ is an object as the observations call it, PLACE a room next door:
- look around; look at OBJ; look in OBJ; read OBJ
- inventory, what you hold; task, the task once more
- open OBJ; close OBJ; go to PLACE (its door must be open)
- pick up OBJ; put down OBJ; move OBJ to OBJ; pour OBJ into OBJ; dunk OBJ into OBJ; mix OBJ
- activate OBJ; deactivate OBJ; use OBJ; use OBJ on OBJ; eat OBJ; flush OBJ
- connect OBJ to OBJ; disconnect OBJ, for wires and electrical parts
- wait, ten ticks of the clock; wait1, one tick
- focus on OBJ, only to point out what the task asks for: focusing on anything else loses the game

If an action could mean several objects, you get a numbered list: answer with the number alone as \
the action. "No known action matches that input." means that nothing happened: name another object \
or another action.

Example:
Thought: The task is to boil water. I need a pot and a heat source, so I look for the kitchen.
Action: open door to kitchen"""

BRIEF = "Do the science task. Answer with a Thought line and an Action line."
