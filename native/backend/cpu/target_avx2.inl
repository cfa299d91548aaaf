// From here on code is compiled for AVX2 and FMA; to be ended by target_end.inl. Headers above are not, so no inline function of theirs
// can leak into the rest of the program with instructions it may lack.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
