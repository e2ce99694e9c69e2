# SPDX-License-Identifier: GPL-2.0-or-later
"""watchdog_main.py OBSERVER DIR: prints what python3-watchdog says of a directory, a line an event."""
import sys
import time

from watchdog.events import FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.polling import PollingObserver


class Teller(FileSystemEventHandler):
    def on_any_event(self, event):
        print(event.event_type, event.src_path)


observer = {"Observer": Observer, "PollingObserver": PollingObserver}[sys.argv[1]]()
observer.schedule(Teller(), sys.argv[2], recursive=True)
observer.start()
# An observer that looks needs to have looked once; it does not say when it has.
time.sleep(2)
print("watching")
while True:
    time.sleep(60)
