"""Worlds, fleets and adversaries: detection scoreboards for the services' own labs."""

from fieldstone.lab.scoreboard import Rate, Row, Scoreboard, rate, render, score

__all__ = ["Rate", "Row", "Scoreboard", "rate", "render", "score"]
