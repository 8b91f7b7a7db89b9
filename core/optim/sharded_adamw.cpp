#include "core/optim/sharded_adamw.h"

#include <algorithm>
#include <span>

#include "core/checkpoint/parameter_ranges.h"
#include "ops/reduce/reduce.h"
#include "ops/tensor/copy.h"
#include "ops/tensor/profile.h"

namespace tsugi {
namespace {

constexpr int64_t kInitializationChunks = 64;

}  // namespace

ShardedAdamW::ShardedAdamW(const Context& context, ParameterStore& store, ShardLayout layout, int rank,
                           float weight_decay)
    : context_(context),
      store_(&store),
      layout_(std::move(layout)),
      trainable_(layout_.before(store.trainable_chunks())),
      rank_(rank),
      rules_(store.rules(weight_decay)) {
  const Shape shape{trainable_.local_chunks(rank) * kChunkElements};
  exp_avg_ = context.empty(shape, DType::kF32);
  exp_avg_sq_ = context.empty(shape, DType::kF32);
  fill_zero(context, exp_avg_);
  fill_zero(context, exp_avg_sq_);
  if (store.compute_type() != DType::kF32) {
    master_ = context.empty({layout_.local_chunks(rank) * kChunkElements}, DType::kF32);
    fill_zero(context, master_);
  }
  fill_zero(context, store.working());
  for (int bucket = 0; bucket < trainable_.buckets(); ++bucket) {
    const ChunkRange shard = trainable_.shard(bucket, rank_);
    shard_rules_.insert(shard_rules_.end(), rules_.begin() + shard.begin, rules_.begin() + shard.end);
  }
}

int64_t ShardedAdamW::state_bytes(const ParameterStore& store, const ShardLayout& layout, int rank) {
  const int64_t moments = 2 * layout.before(store.trainable_chunks()).local_chunks(rank);
  const int64_t masters = store.compute_type() == DType::kF32 ? 0 : layout.local_chunks(rank);
  return (moments + masters) * kChunkElements * static_cast<int64_t>(sizeof(float));
}

Tensor ShardedAdamW::working(int bucket) const {
  const ChunkRange shard = layout_.shard(bucket, rank_);
  return store_->working().slice(shard.begin * kChunkElements, {shard.chunks() * kChunkElements});
}

Tensor ShardedAdamW::local(const Tensor& shard, int bucket) const {
  return shard.slice(layout_.local_offset(bucket, rank_) * kChunkElements,
                     {layout_.shard(bucket, rank_).chunks() * kChunkElements});
}

Tensor ShardedAdamW::master(int bucket) const { return master_.defined() ? local(master_, bucket) : working(bucket); }

void ShardedAdamW::fill_device(uint64_t seed, ChunkRange extent, const Tensor& target) const {
  std::vector<float> values(static_cast<size_t>(extent.chunks() * kChunkElements));
  const int64_t pieces = (extent.chunks() + kInitializationChunks - 1) / kInitializationChunks;
  context_.pool().for_each(pieces, [&](int64_t piece, int) {
    const int64_t begin = extent.begin + piece * kInitializationChunks;
    const int64_t end = std::min(begin + kInitializationChunks, extent.end);
    store_->initial_values(seed, begin, end, values.data() + (begin - extent.begin) * kChunkElements);
  });
  if (target.dtype() == DType::kF32) return copy_from_host(context_, values.data(), target);
  std::vector<bf16> rounded(values.size());
  for (size_t i = 0; i < values.size(); ++i) rounded[i] = bf16(values[i]);
  copy_from_host(context_, rounded.data(), target);
}

void ShardedAdamW::initialize(uint64_t seed) {
  if (context_.meta()) return;
  const auto fill = [&](ChunkRange extent, const Tensor& target) {  // target: f32 or the compute type
    if (context_.operators() != nullptr) return fill_device(seed, extent, target);
    const int64_t pieces = (extent.chunks() + kInitializationChunks - 1) / kInitializationChunks;
    context_.pool().for_each(pieces, [&](int64_t piece, int worker) {
      const int64_t begin = extent.begin + piece * kInitializationChunks;
      const int64_t end = std::min(begin + kInitializationChunks, extent.end);
      const int64_t offset = (begin - extent.begin) * kChunkElements;
      const int64_t count = (end - begin) * kChunkElements;
      if (target.dtype() == DType::kF32) {
        store_->initial_values(seed, begin, end, target.data<float>() + offset);
        return;
      }
      auto* values = static_cast<float*>(context_.pool().scratch(worker, static_cast<size_t>(count) * sizeof(float)));
      store_->initial_values(seed, begin, end, values);
      for (int64_t i = 0; i < count; ++i) target.data<bf16>()[offset + i] = bf16(values[i]);
    });
  };
  fill({0, store_->chunks()}, store_->working());
  if (!master_.defined()) return;
  for (int bucket = 0; bucket < layout_.buckets(); ++bucket) fill(layout_.shard(bucket, rank_), master(bucket));
}

void ShardedAdamW::square_sums(const Tensor& shard_gradient, const Tensor& sums) const {
  if (!shard_rules_.empty()) chunk_square_sums(context_, shard_rules_, shard_gradient, sums);
}

std::vector<std::unique_ptr<Pending>> ShardedAdamW::step(const AdamWStep& step, const Tensor& shard_gradient,
                                                         const Tensor& decision, Communicator& communicator) {
  std::vector<std::unique_ptr<Pending>> gathers;
  for (int bucket = 0; bucket < trainable_.buckets(); ++bucket) {
    const ChunkRange shard = trainable_.shard(bucket, rank_);
    if (shard.chunks() > 0) {
      adamw_step(context_, step,
                 std::span(rules_).subspan(static_cast<size_t>(shard.begin), static_cast<size_t>(shard.chunks())),
                 master(bucket), local(exp_avg_, bucket), local(exp_avg_sq_, bucket), local(shard_gradient, bucket),
                 working(bucket), decision);
    }
    if (std::unique_ptr<Pending> gather = start_gather(communicator, bucket)) gathers.push_back(std::move(gather));
  }
  return gathers;
}

std::unique_ptr<Pending> ShardedAdamW::start_gather(Communicator& communicator, int bucket) {
  if (communicator.size() == 1 || context_.meta()) return nullptr;
  const size_t chunk_bytes = static_cast<size_t>(kChunkElements) * size_of(store_->compute_type());
  const ChunkRange extent = layout_.bucket(bucket);
  std::vector<size_t> offsets;
  for (int rank = 0; rank < layout_.ranks(); ++rank) {
    offsets.push_back(static_cast<size_t>(layout_.shard(bucket, rank).begin - extent.begin) * chunk_bytes);
  }
  offsets.push_back(static_cast<size_t>(extent.chunks()) * chunk_bytes);
  std::byte* begin = static_cast<std::byte*>(store_->working().raw()) + static_cast<size_t>(extent.begin) * chunk_bytes;
  return communicator.all_gather(begin, std::move(offsets));
}

void ShardedAdamW::gather(Communicator& communicator) {
  std::vector<std::unique_ptr<Pending>> gathers;
  for (int bucket = 0; bucket < layout_.buckets(); ++bucket) {
    if (std::unique_ptr<Pending> gather = start_gather(communicator, bucket)) gathers.push_back(std::move(gather));
  }
  for (const std::unique_ptr<Pending>& gather : gathers) gather->wait();
}

void ShardedAdamW::refresh_working() {
  if (!master_.defined()) return;
  for (int bucket = 0; bucket < layout_.buckets(); ++bucket) {
    if (layout_.shard(bucket, rank_).chunks() > 0) convert(context_, master(bucket), working(bucket));
  }
}

std::vector<StateRange> ShardedAdamW::ranges(bool moments) const {
  std::vector<StateRange> ranges;
  const std::vector<ParameterInfo>& tensors = store_->tensors();
  for (int bucket = 0; bucket < layout_.buckets(); ++bucket) {
    const ChunkRange shard = layout_.shard(bucket, rank_);
    int saved = 0;
    for (const ParameterInfo& info : tensors) {
      const int first_part = saved;
      saved += static_cast<int>(info.parts.size());
      const int64_t begin = std::max(shard.begin, info.first_chunk);
      const int64_t end = std::min(shard.end, info.first_chunk + info.chunks());
      if (begin >= end) continue;
      StateRange extent;
      extent.tensor = first_part;
      extent.offset = (begin - info.first_chunk) * kChunkElements;
      extent.length = std::min((end - begin) * kChunkElements, info.elements() - extent.offset);
      if (extent.length <= 0) continue;
      const int64_t in_shard = (begin - shard.begin) * kChunkElements;
      extent.master = static_cast<float*>(master(bucket).raw()) + in_shard;
      if (moments && !info.frozen) {
        extent.exp_avg = static_cast<float*>(local(exp_avg_, bucket).raw()) + in_shard;
        extent.exp_avg_sq = static_cast<float*>(local(exp_avg_sq_, bucket).raw()) + in_shard;
      }
      add_saved_ranges(info, extent, ranges);
    }
  }
  return ranges;
}

}  // namespace tsugi
