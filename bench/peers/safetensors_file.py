"""Reads a safetensors file with nothing but the standard library and torch."""
import json
import struct

import torch

DTYPES = {'F32': torch.float32, 'BF16': torch.bfloat16, 'I32': torch.int32}


def header_of(data):
    (length,) = struct.unpack('<Q', data[:8])
    return length, json.loads(data[8:8 + length])


def metadata(path):
    with open(path, 'rb') as file:
        return header_of(file.read())[1].get('__metadata__', {})


def load(path):
    with open(path, 'rb') as file:
        data = file.read()
    length, header = header_of(data)
    tensors = {}
    for name, entry in header.items():
        if name == '__metadata__':
            continue
        begin, end = (8 + length + offset for offset in entry['data_offsets'])
        flat = torch.frombuffer(bytearray(data[begin:end]), dtype=DTYPES[entry['dtype']])
        tensors[name] = flat.reshape(entry['shape']).clone()
    return tensors
