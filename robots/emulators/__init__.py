"""Robots without hardware: servers that speak a maker's protocol over the same sockets, with faults to switch on.

They share no code with the drivers that talk to them: each has its own encoder and decoder, so that a misreading of a
protocol is not made twice.
"""
