// All parameters of a run in flat buffers that are cut into chunks.
//
// Tensors are laid out in units (head, block L-1 … block 0, embedding) in the order in which backward completes them,
// so that "complete up to chunk c" is all that the gradient reduction has to be told. Frozen tensors lie behind all
// that are trained: gradients and moments exist for the chunks before them only. A tensor starts at a chunk boundary.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "ops/optimizer_step/optimizer_step.h"
#include "ops/tensor/context.h"

namespace tsugi {

/// How a tensor is filled before training.
struct Initialization {
  enum class Kind { kZeros, kOnes, kNormal };
  Kind kind = Kind::kZeros;
  float standard_deviation = 0.0f;
  /// The first so many elements have the other deviation: the first of several parts.
  int64_t first_elements = 0;
  float first_deviation = 0.0f;
};

/// Rows of a tensor that are a tensor of their own in files: Hugging Face keeps apart what one product computes.
struct ParameterPart {
  std::string name;  ///< its Hugging Face name
  int64_t rows = 0;
  std::vector<int64_t> shape = {};  ///< in files, where it is another than [rows, …] with the same elements
};

/// One tensor of the store.
struct ParameterInfo {
  std::string name;                  ///< its Hugging Face name; of several parts, what they have in common
  std::vector<ParameterPart> parts;  ///< as files have it, row after row; at least one
  Shape shape;                       ///< of all parts together
  Shape allocated;                   ///< as computed with: rows may be padded (vocabulary)
  Initialization initial;
  bool decay = false;  ///< takes part in weight decay
  bool frozen = false;
  int unit = 0;
  int64_t first_chunk = 0;

  int64_t elements() const { return shape.elements(); }
  int64_t chunks() const { return (allocated.elements() + kChunkElements - 1) / kChunkElements; }
};

class ParameterStore;

/// A handle to one tensor of a store.
class Parameter {
 public:
  Parameter() = default;
  Parameter(const ParameterStore* store, int index) : store_(store), index_(index) {}
  /// False for what a layer does without (a bias, a table of positions).
  bool defined() const { return store_ != nullptr; }
  /// The working copy in the compute type.
  Tensor value() const;
  /// f32, a view of the bound gradient buffer. Of trainable tensors only.
  Tensor gradient() const;
  bool trainable() const;
  int index() const { return index_; }

 private:
  const ParameterStore* store_ = nullptr;
  int index_ = 0;
};

class ParameterStore {
 public:
  /// Declares the next tensor of the current unit; `padded_rows` > rows of the shape pads it with zero rows. `parts`:
  /// how files hold it, its rows together those of the shape; empty: under `name`.
  Parameter add(const std::string& name, Shape shape, Initialization initial, bool decay, int64_t padded_rows = 0,
                std::vector<ParameterPart> parts = {});
  /// Puts `prefix` before the names of tensor `first` and all that follow it.
  void add_prefix(const std::string& prefix, size_t first);
  /// Closes the unit and returns its index.
  int end_unit();

  /// Freezes the tensors for which the predicate holds, and only these. Before allocate().
  void freeze(const std::function<bool(const ParameterInfo&)>& predicate);

  /// Takes the memory of the working copy. No more declarations afterwards.
  void allocate(const Context& context, DType compute_type);

  const std::vector<ParameterInfo>& tensors() const { return tensors_; }
  int64_t chunks() const { return chunks_; }
  /// The first ones: those that have gradients.
  int64_t trainable_chunks() const { return trainable_chunks_; }
  DType compute_type() const { return compute_type_; }
  /// Number of parameters, padding not counted; a tied tensor counts once.
  int64_t parameters() const;
  int64_t trainable_parameters() const;
  /// The chunk at which the trainable tensors of each unit end, ascending.
  const std::vector<int64_t>& unit_ends() const { return unit_ends_; }
  /// One rule per chunk.
  std::vector<ChunkRule> rules(float weight_decay) const;

  /// The flat working copy, [chunks·kChunkElements].
  const Tensor& working() const { return working_; }
  /// Computes with `flat`, which has the shape of working(), from now on; returns what it computed with.
  Tensor exchange_working(Tensor flat);
  /// Where gradients go from now on: f32 [trainable_chunks·kChunkElements], or more.
  void bind_gradients(Tensor flat) { gradients_ = std::move(flat); }

  Tensor value(int index) const;
  Tensor gradient(int index) const;

  /// Fills elements [begin, end) of the flat order with initial values in f32: a pure function of the seed, the tensor
  /// and the element, whatever the shard. `out` has end - begin elements; begin and end are chunk boundaries.
  void initial_values(uint64_t seed, int64_t begin_chunk, int64_t end_chunk, float* out) const;

 private:
  Tensor view(const Tensor& flat, int index) const;
  /// Gives every tensor its place: trainable ones first, both in the order of declaration.
  void arrange();

  std::vector<ParameterInfo> tensors_;
  std::vector<int64_t> unit_ends_;
  int64_t chunks_ = 0;
  int64_t trainable_chunks_ = 0;
  DType compute_type_ = DType::kF32;
  Tensor working_;
  Tensor gradients_;
};

}  // namespace tsugi
