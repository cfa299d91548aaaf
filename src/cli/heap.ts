/**
 * Loaded first by the command: keeps V8's young generation at its first size. Its doublings come late in a series of
 * edits and their pages become resident over many more, which looks like a leak. The young objects of this program are
 * few and short-lived (large data lies outside of V8), so that a small space costs next to no time. The greatest size
 * itself is fixed once V8 runs; the growth factor is not. A library leaves this to its caller.
 */
import { setFlagsFromString } from 'node:v8';

setFlagsFromString('--semi-space-growth-factor=1');
