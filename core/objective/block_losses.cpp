#include "core/objective/block_losses.h"

#include <algorithm>
#include <numeric>

#include "ops/reduce/reduce.h"
#include "ops/tensor/copy.h"

namespace tsugi {

Tensor by_block(const Context& context, const Tensor& features, int64_t blocks) {
  const int64_t leaves = features.shape()[0];
  const int64_t elements = features.shape()[1] / blocks * features.shape()[2];  // of a block of a micro-batch
  const Tensor all = context.empty({blocks, leaves * features.shape()[1] / blocks, features.shape()[2]}, DType::kF32);
  for (int64_t i = 0; i < leaves * blocks && !context.meta(); ++i) {
    const int64_t place = i % blocks * leaves + i / blocks;
    copy(context, features.slice(i * elements, {elements}), all.slice(place * elements, {elements}));
  }
  return all;
}

FeatureLoss contrast_blocks(const Context& context, Communicator& communicator, const Tensor& features, int64_t blocks,
                            std::span<const BlockPair> pairs, std::span<const int32_t> groups) {
  CHECK(features.shape().rank() == 3 && features.shape()[1] % blocks == 0);
  const int64_t leaves = features.shape()[0];
  const int64_t rows = features.shape()[1] / blocks;
  const int64_t width = features.shape()[2];
  const int64_t samples = leaves * rows;
  const Tensor of_blocks = by_block(context, features, blocks);
  const Tensor positives =
      integers_of(context, {samples}, [&](int32_t* values) { std::iota(values, values + samples, 0); });
  const Tensor of_samples = integers_of(context, {samples}, [&](int32_t* values) {
    CHECK_EQ(static_cast<int64_t>(groups.size()), samples);
    std::ranges::copy(groups, values);
  });
  const auto block_of_all = [&](int64_t block) { return of_blocks.slice(block * samples * width, {samples, width}); };
  const auto problem = [&](const BlockPair& pair) {
    return InfoNce{block_of_all(pair.queries), block_of_all(pair.keys), positives, of_samples, of_samples, 1.0f};
  };
  const auto block_of = [&](const Tensor& of_leaf, int64_t block) {
    return of_leaf.slice(block * rows * width, {rows, width});
  };
  const Tensor log_sums = context.empty({samples}, DType::kF64);
  const Tensor as_keys = context.empty({rows, width}, DType::kF32);
  return compare_leaves(context, communicator, features,
                        {.facts = 1,
                         .queries =
                             [&](int64_t leaf, const Tensor& facts, const Tensor& d_queries) {
                               fill_zero(context, d_queries);
                               fill_zero(context, facts);
                               InfoNceSum all;
                               for (const BlockPair& pair : pairs) {
                                 const InfoNceSum sum = info_nce(context, query_rows(problem(pair), leaf * rows, rows),
                                                                 facts.slice(pair.queries * rows, {rows}),
                                                                 block_of(d_queries, pair.queries));
                                 all.loss.sum += sum.loss.sum;
                                 all.loss.count += sum.loss.count;
                                 all.nearest += sum.nearest;
                               }
                               return all;
                             },
                         .keys =
                             [&](int64_t leaf, const Tensor& facts, const Tensor& d_keys) {
                               fill_zero(context, d_keys);
                               for (const BlockPair& pair : pairs) {
                                 for (int64_t i = 0; i < leaves && !context.meta(); ++i) {
                                   copy(context, facts.slice((i * blocks + pair.queries) * rows, {rows}),
                                        log_sums.slice(i * rows, {rows}));
                                 }
                                 info_nce_key_gradient(context, problem(pair), log_sums, leaf * rows, as_keys);
                                 add_in_place(context, block_of(d_keys, pair.keys), as_keys);
                               }
                             }});
}

}  // namespace tsugi
