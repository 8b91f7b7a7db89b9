#include "core/objective/part_losses.h"

#include "core/objective/block_losses.h"
#include "ops/reduce/reduce.h"
#include "ops/tensor/copy.h"

namespace tsugi {

FeatureLoss contrast_parts(const Context& context, Communicator& communicator, const Tensor& features, int64_t blocks,
                           std::span<const PartPair> pairs, const PartLoss& loss) {
  CHECK(features.shape().rank() == 3 && features.shape()[1] % blocks == 0);
  const int64_t rows = features.shape()[1] / blocks;
  const int64_t width = features.shape()[2];
  const int64_t leaves = features.shape()[0];
  const int64_t samples = leaves * rows;
  const Tensor of_blocks = by_block(context, features, blocks);
  const Tensor ids = integers_of(context, {blocks * samples}, [&](int32_t* values) {
    for (int64_t i = 0; i < blocks * samples; ++i) values[i] = static_cast<int32_t>(i % samples);
  });
  const auto problem = [&](const PartPair& pair) {
    const auto rows_of = [&](int64_t block, int64_t count) {
      return of_blocks.slice(block * samples * width, {count * samples, width});
    };
    return PartScores{rows_of(pair.whole, 1),
                      rows_of(pair.first_part, pair.parts),
                      ids.slice(0, {samples}),
                      ids.slice(0, {pair.parts * samples}),
                      pair.parts,
                      loss.bound,
                      loss.scale,
                      loss.clip,
                      loss.penalty,
                      pair.weight};
  };
  const auto block_of = [&](const Tensor& of_leaf, int64_t block) {
    return of_leaf.slice(block * rows * width, {rows, width});
  };
  const Tensor told = context.empty({samples, kPartFacts}, DType::kF64);
  const Tensor as_parts = context.empty({rows, width}, DType::kF32);
  return compare_leaves(
      context, communicator, features,
      {.facts = kPartFacts,
       .queries =
           [&](int64_t leaf, const Tensor& facts, const Tensor& d_wholes) {
             fill_zero(context, d_wholes);
             fill_zero(context, facts);
             InfoNceSum all;
             for (const PartPair& pair : pairs) {
               const InfoNceSum sum = part_bound(context, whole_rows(problem(pair), leaf * rows, rows),
                                                 facts.slice(pair.whole * rows * kPartFacts, {rows, kPartFacts}),
                                                 block_of(d_wholes, pair.whole));
               all.loss.sum += sum.loss.sum;
               all.loss.count += sum.loss.count;
               all.nearest += sum.nearest;
             }
             return all;
           },
       .keys =
           [&](int64_t leaf, const Tensor& facts, const Tensor& d_parts) {
             fill_zero(context, d_parts);
             for (const PartPair& pair : pairs) {
               const int64_t numbers = rows * kPartFacts;
               for (int64_t i = 0; i < leaves && !context.meta(); ++i) {
                 copy(context, facts.slice((i * blocks + pair.whole) * numbers, {numbers}),
                      told.slice(i * numbers, {numbers}));
               }
               for (int64_t part = 0; part < pair.parts; ++part) {
                 part_bound_part_gradient(context, problem(pair), told, part * samples + leaf * rows, as_parts);
                 add_in_place(context, block_of(d_parts, pair.first_part + part), as_parts);
               }
             }
           }});
}

}  // namespace tsugi
