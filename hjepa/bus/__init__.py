"""The bus: typed messages over ZMQ between a driver, a high and a low level. Imports zmq and msgspec only."""
