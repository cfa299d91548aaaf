// Internal: the inner kernels of the CPU convolution on AMX tiles (bf16 products, f32 sums).
//
// The planes hold pairs of channels: one 32-bit word per position, the even channel in its low half. A tile of the
// right
// operand is then 16 words of up to 16 consecutive pair planes, loaded straight from memory wherever a tap points.
#pragma once

#include <cstdint>

#include "native/ops/conv/conv_planes.h"

namespace rl::cpu {

// Channels per k block: pairs are spread evenly over as few blocks of at most 16 as there can be.
struct PairBlocks {
  int64_t blocks, pairs;  // pairs per block
  explicit PairBlocks(int64_t channels) {
    const int64_t total = (channels + 1) / 2;
    blocks = (total + 15) / 16;
    pairs = blocks == 0 ? 0 : (total + blocks - 1) / blocks;
  }
};

// Does this machine, at the ISA in use, have the instructions?
bool conv_amx_available();

// fill_planes for pairs of channels, rounded to bf16. layout.units counts pairs; those beyond the channels are zero.
void fill_pair_planes(const PlaneLayout& layout, DType dtype, const void* image, int64_t row0, uint32_t* planes,
    int64_t tail);

// Sets up the tiles of the calling thread for conv_amx_tile with these arguments; every configure needs a release.
void conv_amx_configure(int row_tiles, int64_t pairs);
void conv_amx_release();

// Positions per call: 48 for one tile of 16 rows, 32 for two.
inline constexpr int conv_amx_width(int row_tiles) { return row_tiles == 1 ? 48 : 32; }
// out[16 row_tiles][width] = sum over k blocks. `a` is [blocks][row_tiles][16 rows][pairs] words, block k of the right
// operand starts at
// planes + offsets[k] and its pairs are pair_stride words apart.
void conv_amx_tile(int row_tiles, int64_t blocks, int64_t pairs, const uint32_t* a, const int64_t* offsets,
                   const uint32_t* planes, int64_t pair_stride, float* out);

// conv_weight_grad by AMX, for at least one output column.
void conv_weight_grad_amx(const ConvShape& s, DType dtype, const void* x, const void* dy, void* dw);

}  // namespace rl::cpu
