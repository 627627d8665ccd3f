"""A bare interpreter with the imports of orders/app.py that waits until stdin ends."""
import datetime
import decimal
import json
import logging
import sys
import urllib.request

print('ready', flush=True)
sys.stdin.read()
