#include "core/data/batch.h"

#include <glog/logging.h>

#include <algorithm>
#include <span>
#include <vector>

#include "ops/cross_entropy/cross_entropy.h"
#include "ops/tensor/memory.h"

namespace tsugi {
namespace {

Tensor host_integers(Shape shape) {
  HeapMemory memory;
  return Tensor(memory.allocate(static_cast<size_t>(shape.elements()) * sizeof(int32_t)), shape, DType::kI32);
}

/// Undefined tensors of a batch that fill_row() writes.
Batch host_batch(const TokenFile& file, int64_t rows, int64_t sequence, Documents documents) {
  Batch batch;
  batch.tokens = host_integers({rows, sequence});
  batch.targets = host_integers({rows, sequence});
  if (documents == Documents::kApart) {
    CHECK(!file.documents().empty()) << file.path();
    batch.first_key = host_integers({rows, sequence});
  }
  return batch;
}

/// First keys of the row at `offset`, and no targets across the starts of documents.
void separate_documents(std::span<const int64_t> starts, int64_t offset, std::span<int32_t> first_key,
                        std::span<int32_t> targets) {
  auto next = std::ranges::upper_bound(starts, offset);  // the first start behind the row's first token
  int32_t first = 0;
  for (size_t t = 0; t < first_key.size(); ++t) {
    const int64_t position = offset + static_cast<int64_t>(t);
    if (next != starts.end() && *next == position) {
      first = static_cast<int32_t>(t);
      ++next;
    }
    first_key[t] = first;
    if (next != starts.end() && *next == position + 1) targets[t] = kIgnoreIndex;
  }
}

/// Row `row` from the window of sequence + 1 tokens at `offset`.
void fill_row(const TokenFile& file, int64_t vocabulary, int64_t offset, int64_t sequence, int64_t row,
              const Batch& batch, std::vector<int32_t>& window) {
  window.resize(static_cast<size_t>(sequence) + 1);
  file.read(offset, vocabulary, window);
  std::copy(window.begin(), window.end() - 1, batch.tokens.data<int32_t>() + row * sequence);
  int32_t* targets = batch.targets.data<int32_t>() + row * sequence;
  std::copy(window.begin() + 1, window.end(), targets);
  if (!batch.first_key.defined()) return;
  const auto length = static_cast<size_t>(sequence);
  separate_documents(file.documents(), offset, {batch.first_key.data<int32_t>() + row * sequence, length},
                     {targets, length});
}

}  // namespace

Batch shape_of_batch(int64_t rows, int64_t sequence, bool labels) {
  Batch batch;
  batch.tokens = Tensor::view(nullptr, {rows, sequence}, DType::kI32);
  batch.targets = Tensor::view(nullptr, labels ? Shape{rows} : Shape{rows, sequence}, DType::kI32);
  if (labels) batch.positions = Tensor::view(nullptr, {rows}, DType::kI32);
  return batch;
}

Batch fill_training_batch(const TokenFile& file, const Sampler& sampler, int64_t vocabulary, uint64_t first_sample,
                          int64_t rows, int64_t sequence, Documents documents) {
  Batch batch = host_batch(file, rows, sequence, documents);
  batch.first_sample = first_sample;
  std::vector<int32_t> window;
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t offset = sampler.offset(first_sample + static_cast<uint64_t>(row));
    fill_row(file, vocabulary, offset, sequence, row, batch, window);
  }
  return batch;
}

Batch fill_validation_batch(const TokenFile& file, int64_t vocabulary, int64_t first, int64_t sequences, int64_t rows,
                            int64_t sequence, Documents documents) {
  Batch batch = host_batch(file, rows, sequence, documents);
  std::fill_n(batch.tokens.data<int32_t>(), rows * sequence, 0);
  std::fill_n(batch.targets.data<int32_t>(), rows * sequence, kIgnoreIndex);
  if (batch.first_key.defined()) {
    for (int64_t i = 0; i < rows * sequence; ++i)
      batch.first_key.data<int32_t>()[i] = static_cast<int32_t>(i % sequence);
  }
  std::vector<int32_t> window;
  for (int64_t row = 0; row < sequences; ++row) {
    fill_row(file, vocabulary, (first + row) * sequence, sequence, row, batch, window);
  }
  return batch;
}

}  // namespace tsugi
