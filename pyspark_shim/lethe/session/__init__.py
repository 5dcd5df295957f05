"""Spark sessions, classic and Connect, behind one face."""
