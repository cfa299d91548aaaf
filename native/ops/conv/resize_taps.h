// Interpolation weights of one axis: which input positions an output position reads, and how much of each.
//
// Bilinear: src = i (in − 1)/(out − 1) with align_corners, else max(0, (i + ½) in/out − ½); weights 1 − t, t at
// floor(src), +1.
// Bicubic (Keys 1981), src = (i + ½) in/out − ½, K(x) = (a+2)|x|³ − (a+3)|x|² + 1 for |x| < 1, a|x|³ − 5a|x|² + 8a|x| −
// 4a for |x| < 2:
//   antialias=false  a = −0.75, four taps, positions outside are moved to the edge;
//   antialias=true   a = −0.5, the kernel is stretched by in/out when shrinking, positions outside are dropped and the
//                    remaining weights divided by their sum (as Pillow and PyTorch's antialiased resize do).
#pragma once

#include <cstdint>
#include <vector>

namespace rl {

// Row i reads index[starts[i] .. starts[i + 1]) with the weights at the same places.
struct ResizeTaps {
  std::vector<int32_t> starts;
  std::vector<int32_t> index;
  std::vector<float> weight;
};

ResizeTaps bilinear_taps(int64_t in, int64_t out, bool align_corners);
ResizeTaps bicubic_taps(int64_t in, int64_t out, bool antialias);
// The taps of the gradient: rows become columns. `columns` is the number of input positions.
ResizeTaps transposed(const ResizeTaps& taps, int64_t columns);

}  // namespace rl
