"""Plots of a page. Each takes the page's numbers and gives an SVG element.

Bars lie, and a plot is as high as its layers need; colours are those of
:mod:`tritforge.report.svg`.
"""
