"""Prints the narrow-band PESQ score (ITU-T P.862.1) of the second WAV file (8 kHz, mono, 16 bit) against the first."""

import sys
import wave

import numpy
import pesq


def samples(path):
    with wave.open(path) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8000, 1, 2)
        return numpy.frombuffer(file.readframes(file.getnframes()), numpy.int16)


print(pesq.pesq(8000, samples(sys.argv[1]), samples(sys.argv[2]), "nb"))
