// Token and position embedding, on CUDA; embedding.h has the contract. Pointers are to device memory, 16-byte aligned.
#pragma once

#include <cstdint>

#include "ops/cuda/dropout_key.h"
#include "ops/cuda/runtime.h"
#include "ops/tensor/dtype.h"

namespace tsugi::cuda {

struct EmbeddingShape {
  DType type = DType::kBF16;
  int64_t batch = 0;
  int64_t tokens = 0;
  int64_t width = 0;
  int64_t vocabulary = 0;  ///< rows of the token table

  int64_t count() const { return batch * tokens; }
};

/// out[b, t] = dropout(token_table[tokens[b, t]] + position_table[t]); position_table may be null: no positions.
void embedding_forward(Stream& stream, const EmbeddingShape& shape, const int32_t* tokens, const void* token_table,
                       const void* position_table, const DropoutKey& dropout, void* out);

/// Bytes of scratch that the backward pass needs.
size_t embedding_scratch_bytes(const EmbeddingShape& shape);

/// Adds to d_token_table [vocabulary, width] and d_position_table [tokens, width] (f32). Positions are sorted by token
/// (a stable radix sort); the sorted positions are summed in order in pieces of 32, and a token that spans pieces in
/// the order of the pieces. d_position_table may be null.
void embedding_backward(Stream& stream, const EmbeddingShape& shape, const int32_t* tokens, const DropoutKey& dropout,
                        const void* d_out, void* scratch, float* d_token_table, float* d_position_table);

}  // namespace tsugi::cuda
