#include "core/autograd/parameter_store.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace tsugi {
namespace {

constexpr uint32_t kInitializationSite = 0x49000000;

/// Standard normal numbers by Box–Muller, four per Philox block.
void normal_block(const RandomStream& stream, uint32_t block, float out[4]) {
  const Philox4 words = stream.block(block);
  for (int i = 0; i < 4; i += 2) {
    const double radius = std::sqrt(-2.0 * std::log(static_cast<double>(uniform_open(words[i]))));
    const double angle = 2.0 * std::numbers::pi * static_cast<double>(uniform_open(words[i + 1]));
    out[i] = static_cast<float>(radius * std::cos(angle));
    out[i + 1] = static_cast<float>(radius * std::sin(angle));
  }
}

}  // namespace

Tensor Parameter::value() const { return store_->value(index_); }
Tensor Parameter::gradient() const { return store_->gradient(index_); }
bool Parameter::trainable() const { return !store_->tensors()[static_cast<size_t>(index_)].frozen; }

Parameter ParameterStore::add(const std::string& name, Shape shape, Initialization initial, bool decay,
                              int64_t padded_rows, std::vector<ParameterPart> parts) {
  CHECK(!working_.defined()) << "declaration of " << name << " after allocate()";
  ParameterInfo info;
  info.name = name;
  if (parts.empty()) parts.push_back({name, shape[0]});
  int64_t rows = 0;
  for (const ParameterPart& part : parts) rows += part.rows;
  CHECK_EQ(rows, shape[0]) << name;
  info.parts = std::move(parts);
  info.shape = shape;
  info.allocated = shape;
  if (padded_rows > 0) info.allocated = shape.rank() == 1 ? Shape{padded_rows} : Shape{padded_rows, shape[1]};
  CHECK_GE(info.allocated.elements(), shape.elements());
  info.initial = initial;
  info.decay = decay;
  info.unit = static_cast<int>(unit_ends_.size());
  info.first_chunk = chunks_;
  chunks_ += info.chunks();
  trainable_chunks_ = chunks_;
  tensors_.push_back(info);
  return Parameter(this, static_cast<int>(tensors_.size()) - 1);
}

void ParameterStore::add_prefix(const std::string& prefix, size_t first) {
  for (size_t t = first; t < tensors_.size(); ++t) {
    tensors_[t].name.insert(0, prefix);
    for (ParameterPart& part : tensors_[t].parts) part.name.insert(0, prefix);
  }
}

int ParameterStore::end_unit() {
  unit_ends_.push_back(chunks_);
  return static_cast<int>(unit_ends_.size()) - 1;
}

void ParameterStore::freeze(const std::function<bool(const ParameterInfo&)>& predicate) {
  CHECK(!working_.defined());
  for (ParameterInfo& info : tensors_) info.frozen = predicate(info);
  arrange();
}

void ParameterStore::arrange() {
  int64_t next = 0;
  for (const bool frozen : {false, true}) {
    for (ParameterInfo& info : tensors_) {
      if (info.frozen != frozen) continue;
      info.first_chunk = next;
      next += info.chunks();
      if (!frozen) unit_ends_[static_cast<size_t>(info.unit)] = next;
    }
    if (!frozen) trainable_chunks_ = next;
  }
  CHECK_EQ(next, chunks_);
  // A unit of which nothing is trained ends where the one before it does.
  std::vector<bool> trained(unit_ends_.size());
  for (const ParameterInfo& info : tensors_) {
    if (!info.frozen) trained[static_cast<size_t>(info.unit)] = true;
  }
  for (size_t unit = 0; unit < unit_ends_.size(); ++unit) {
    if (!trained[unit]) unit_ends_[unit] = unit == 0 ? 0 : unit_ends_[unit - 1];
  }
}

void ParameterStore::allocate(const Context& context, DType compute_type) {
  CHECK(!unit_ends_.empty() && unit_ends_.back() == trainable_chunks_) << "the last unit is not closed";
  compute_type_ = compute_type;
  working_ = context.empty({chunks_ * kChunkElements}, compute_type);
}

Tensor ParameterStore::exchange_working(Tensor flat) {
  CHECK(flat.shape() == working_.shape() && flat.dtype() == working_.dtype());
  std::swap(flat, working_);
  return flat;
}

int64_t ParameterStore::parameters() const {
  int64_t sum = 0;
  for (const ParameterInfo& info : tensors_) sum += info.elements();
  return sum;
}

int64_t ParameterStore::trainable_parameters() const {
  int64_t sum = 0;
  for (const ParameterInfo& info : tensors_) sum += info.frozen ? 0 : info.elements();
  return sum;
}

std::vector<ChunkRule> ParameterStore::rules(float weight_decay) const {
  std::vector<ChunkRule> rules(static_cast<size_t>(chunks_));
  for (size_t t = 0; t < tensors_.size(); ++t) {
    const ParameterInfo& info = tensors_[t];
    for (int64_t c = 0; c < info.chunks(); ++c) {
      ChunkRule& rule = rules[static_cast<size_t>(info.first_chunk + c)];
      rule.tensor = static_cast<int32_t>(t);
      rule.valid = static_cast<int32_t>(
          std::clamp<int64_t>(info.allocated.elements() - c * kChunkElements, int64_t{0}, kChunkElements));
      rule.weight_decay = info.decay ? weight_decay : 0.0f;
      rule.frozen = info.frozen;
    }
  }
  return rules;
}

Tensor ParameterStore::view(const Tensor& flat, int index) const {
  const ParameterInfo& info = tensors_[static_cast<size_t>(index)];
  return flat.slice(info.first_chunk * kChunkElements, info.allocated);
}

Tensor ParameterStore::value(int index) const { return view(working_, index); }

Tensor ParameterStore::gradient(int index) const {
  CHECK(gradients_.defined()) << "no gradient buffer is bound";
  CHECK(!tensors_[static_cast<size_t>(index)].frozen) << tensors_[static_cast<size_t>(index)].name;
  return view(gradients_, index);
}

void ParameterStore::initial_values(uint64_t seed, int64_t begin_chunk, int64_t end_chunk, float* out) const {
  for (size_t t = 0; t < tensors_.size(); ++t) {
    const ParameterInfo& info = tensors_[t];
    const RandomStream stream{seed, t, kInitializationSite};
    for (int64_t chunk = std::max(begin_chunk, info.first_chunk);
         chunk < std::min(end_chunk, info.first_chunk + info.chunks()); ++chunk) {
      float* values = out + (chunk - begin_chunk) * kChunkElements;
      const int64_t first = (chunk - info.first_chunk) * kChunkElements;
      const int64_t valid = std::clamp<int64_t>(info.elements() - first, 0, kChunkElements);
      std::fill(values, values + kChunkElements, 0.0f);
      if (info.initial.kind == Initialization::Kind::kOnes) std::fill(values, values + valid, 1.0f);
      if (info.initial.kind != Initialization::Kind::kNormal) continue;
      for (int64_t i = 0; i < valid; i += 4) {
        float normals[4];
        normal_block(stream, static_cast<uint32_t>((first + i) / 4), normals);
        for (int64_t j = i; j < std::min(i + 4, valid); ++j) {
          const bool in_first = first + j < info.initial.first_elements;
          values[j] = (in_first ? info.initial.first_deviation : info.initial.standard_deviation) * normals[j - i];
        }
      }
    }
  }
}

}  // namespace tsugi
