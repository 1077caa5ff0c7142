"""A model of no library: least squares by descent, as a runner takes it."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import time

import numpy as np


class Ridge:
    """Least squares; `breaks` says how the third epoch ends."""

    def __init__(self, rate=0.1, num_epochs=4, breaks=""):
        self.rate, self.num_epochs, self.breaks = rate, num_epochs, breaks
        self.weights, self.epoch = np.zeros(2), 0

    def fit(self, x, y, log):
        for epoch in range(self.epoch, self.epoch + self.num_epochs):
            error = self.predict(x) - y
            log(epoch, loss=float(np.mean(error**2)))
            self.weights = self.weights - self.rate * x.T @ error / len(x)
            self.epoch = epoch + 1
            if epoch == 2:
                self._break()
        return self

    def _break(self):
        match self.breaks:
            case "error":
                raise ValueError("bad batch")
            case "exit(0)":
                raise SystemExit(0)
            case "exit(3)":
                raise SystemExit(3)
            case "SIGTERM":
                os.kill(os.getpid(), signal.SIGTERM)
            case "SIGKILL":
                time.sleep(5.0)  # what is told in the background has been told
                os.kill(os.getpid(), signal.SIGKILL)

    def predict(self, x):
        return x @ self.weights

    def evaluate(self, x, y):
        return {"error": float(np.mean((self.predict(x) - y) ** 2))}

    def save(self, path):
        pathlib.Path(path).write_text(json.dumps([self.epoch, *self.weights]))

    def load(self, path):
        self.epoch, *weights = json.loads(pathlib.Path(path).read_text())
        self.weights = np.array(weights)


X = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
Y = np.array([1.0, 2.0, 3.0])
