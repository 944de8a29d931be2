"""Prints the PESQ score of the second WAV file (mono, 16 bit) against the first: narrow-band (ITU-T P.862.1) of 8 kHz,
wide-band (P.862.2) of 16 kHz."""

import sys
import wave

import numpy
import pesq


def samples(path):
    with wave.open(path) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return file.getframerate(), numpy.frombuffer(file.readframes(file.getnframes()), numpy.int16)


(rate, sent), (arrived_rate, arrived) = samples(sys.argv[1]), samples(sys.argv[2])
assert rate == arrived_rate
print(pesq.pesq(rate, sent, arrived, {8000: "nb", 16000: "wb"}[rate]))
