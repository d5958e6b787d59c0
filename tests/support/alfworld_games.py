"""Small games in ALFWorld's form: its own domain and grammar, and houses of ours.

A house has a shelf, a desk and a drawer. The task is to put the mug, which is on the shelf, on the
desk; or two pens from the drawer.
"""

from __future__ import annotations

import json
from pathlib import Path

_PROBLEM = """
(define (problem house)
 (:domain alfred)
 (:objects
  agent1 - agent
  loc_bar_0 loc_bar_1 loc_bar_2 loc_bar_3 - location
  Shelf_bar_1 Desk_bar_1 Drawer_bar_1 - receptacle
  Mug_bar_1 Pen_bar_1 Pen_bar_2 - object
  ShelfType DeskType DrawerType - rtype
  MugType PenType - otype)
 (:init
  (= (total-cost) 0)
  (atLocation agent1 loc_bar_0)
  (receptacleAtLocation Shelf_bar_1 loc_bar_1)
  (receptacleAtLocation Desk_bar_1 loc_bar_2)
  (receptacleAtLocation Drawer_bar_1 loc_bar_3)
  (receptacleType Shelf_bar_1 ShelfType)
  (receptacleType Desk_bar_1 DeskType)
  (receptacleType Drawer_bar_1 DrawerType)
  (canContain ShelfType MugType) (canContain ShelfType PenType)
  (canContain DeskType MugType) (canContain DeskType PenType)
  (canContain DrawerType PenType)
  (openable Drawer_bar_1)
  (objectType Mug_bar_1 MugType) (objectType Pen_bar_1 PenType) (objectType Pen_bar_2 PenType)
  (pickupable Mug_bar_1) (pickupable Pen_bar_1) (pickupable Pen_bar_2)
  (inReceptacle Mug_bar_1 Shelf_bar_1) (objectAtLocation Mug_bar_1 loc_bar_1)
  (inReceptacle Pen_bar_1 Drawer_bar_1) (objectAtLocation Pen_bar_1 loc_bar_3)
  (inReceptacle Pen_bar_2 Drawer_bar_1) (objectAtLocation Pen_bar_2 loc_bar_3))
 (:goal GOAL)
 (:metric minimize (total-cost)))
"""
_ONE = """(and (exists (?r - receptacle) (exists (?o - object)
  (and (inReceptacle ?o ?r) (objectType ?o OBJECTType) (receptacleType ?r DeskType)))))"""
_TWO = """(exists (?r - receptacle) (exists (?o1 - object) (and (objectType ?o1 OBJECTType)
  (receptacleType ?r DeskType) (inReceptacle ?o1 ?r) (exists (?o2 - object)
  (and (not (= ?o1 ?o2)) (objectType ?o2 OBJECTType) (inReceptacle ?o2 ?r))))))"""


def write_game(
    folder: Path, kind: str = "pick_and_place_simple", thing: str = "Mug", *, solvable: bool = True
) -> Path:
    """Write one game; needs the package alfworld for its domain and grammar.

    Args:
        folder: the game's folder.
        kind: ``pick_and_place_simple`` or ``pick_two_obj_and_place``.
        thing: what is to be put on the desk.
        solvable: what the file says about itself.
    """
    import alfworld

    data = Path(str(alfworld.__file__)).parent / "data"
    goal = (_TWO if kind == "pick_two_obj_and_place" else _ONE).replace("OBJECT", thing)
    grammar = (data / "alfred.twl2").read_text("utf-8")
    words = "two pens on desk" if kind == "pick_two_obj_and_place" else f"a {thing.lower()} in desk"
    game = {
        "pddl_domain": (data / "alfred.pddl").read_text("utf-8"),
        "grammar": grammar.replace("UNKNOWN GOAL", f"put {words}"),
        "pddl_problem": _PROBLEM.replace("GOAL", goal),
        "solvable": solvable,
    }
    folder.mkdir(parents=True)
    path = folder / "game.tw-pddl"
    path.write_text(json.dumps(game), "utf-8")
    parameters = {
        "mrecep_target": "",
        "object_sliced": False,
        "object_target": thing,
        "parent_target": "Desk",
        "toggle_target": "",
    }
    facts = {"task_type": kind, "pddl_params": parameters}
    (folder / "traj_data.json").write_text(json.dumps(facts), "utf-8")
    return path
