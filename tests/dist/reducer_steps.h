// Steps of a BucketReducer with gradients that depend on the micro-batch alone, for tests with threads and with MPI.
#pragma once

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "dist/bucket_reducer.h"
#include "ops/optimizer_step/optimizer_step.h"
#include "tests/ops/testing.h"

namespace tsugi::testing {

/// Element `index` of the gradient of a micro-batch: sums of them depend on the order of the additions.
inline float gradient(int64_t step, int64_t leaf, int64_t index) {
  const Philox4 words =
      philox4x32({static_cast<uint32_t>(index), static_cast<uint32_t>(leaf), 0, 0}, static_cast<uint64_t>(step));
  return std::ldexp(uniform_open(words[0]) - 0.5f, static_cast<int>(words[1] % 24));
}

/// Runs one step on this rank. Parts are marked complete `stride` chunks at a time, not at bucket ends.
inline Tensor run_step(BucketReducer& reducer, int64_t chunks, int64_t step, int64_t stride) {
  for (int64_t leaf = reducer.leaves().begin; leaf < reducer.leaves().end; ++leaf) {
    const Tensor gradients = reducer.begin_leaf();
    for (int64_t begin = 0; begin < chunks; begin += stride) {
      const int64_t end = std::min(chunks, begin + stride);
      for (int64_t i = begin * kChunkElements; i < end * kChunkElements; ++i) {
        gradients.data<float>()[i] += gradient(step, leaf, i);
      }
      reducer.mark_complete(end);
    }
    reducer.end_leaf();
  }
  return reducer.finish();
}

/// The whole sum on every rank, put together from the shards.
inline std::vector<float> assemble(Communicator& communicator, const ShardLayout& layout, const Tensor& shard) {
  std::vector<float> whole(static_cast<size_t>(layout.chunks() * kChunkElements));
  for (int bucket = 0; bucket < layout.buckets(); ++bucket) {
    std::vector<size_t> offsets;
    for (int rank = 0; rank < layout.ranks(); ++rank) {
      offsets.push_back(static_cast<size_t>(layout.shard(bucket, rank).begin * kChunkElements) * sizeof(float));
    }
    offsets.push_back(static_cast<size_t>(layout.bucket(bucket).end * kChunkElements) * sizeof(float));
    const auto mine = static_cast<size_t>(communicator.rank());
    const int64_t local = layout.local_offset(bucket, communicator.rank()) * kChunkElements;
    std::memcpy(reinterpret_cast<char*>(whole.data()) + offsets[mine], shard.data<float>() + local,
                offsets[mine + 1] - offsets[mine]);
    communicator.all_gather(whole.data(), offsets)->wait();
  }
  return whole;
}

/// The same sum by the definition of the tree, one element at a time, without any of our reduction code.
inline std::vector<float> tree_sum(int64_t micro_batches, int64_t elements, int64_t step) {
  struct Tree {
    int64_t step, index;
    float aligned(int64_t start, int64_t size) const {
      if (size == 1) return 0.0f + gradient(step, start, index);
      return aligned(start, size / 2) + aligned(start + size / 2, size / 2);
    }
    float from(int64_t start, int64_t leaves) const {
      int64_t size = 1;
      while (2 * size <= leaves) size *= 2;
      return size == leaves ? aligned(start, size) : aligned(start, size) + from(start + size, leaves - size);
    }
  };
  std::vector<float> sum(static_cast<size_t>(elements));
  for (int64_t i = 0; i < elements; ++i) sum[static_cast<size_t>(i)] = Tree{step, i}.from(0, micro_batches);
  return sum;
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace tsugi::testing
