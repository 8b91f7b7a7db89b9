#include "core/objective/view_losses.h"

#include <map>

#include "ops/tensor/copy.h"

namespace tsugi {
namespace {

/// All views as queries and keys of each other; those of one image are a group.
InfoNce two_views(const Context& context, const Tensor& features, float temperature) {
  CHECK_EQ(features.shape().rank(), 3);
  const int64_t leaves = features.shape()[0];
  const int64_t rows = features.shape()[1];
  CHECK(rows % 2 == 0 && leaves * rows >= 4) << "a view needs the views of another image to compare with";
  const int64_t images = rows / 2;
  const Tensor all = features.reshape({leaves * rows, features.shape()[2]});
  const auto of_views = [&](auto&& value) {
    return integers_of(context, {leaves * rows}, [&](int32_t* values) {
      for (int64_t i = 0; i < leaves * rows; ++i) values[i] = static_cast<int32_t>(value(i, i % rows));
    });
  };
  const Tensor positives = of_views([&](int64_t i, int64_t row) { return row < images ? i + images : i - images; });
  const Tensor groups = of_views([&](int64_t i, int64_t row) { return i / rows * images + row % images; });
  return {all, all, positives, groups, groups, temperature};
}

FeatureLoss compare_by_info_nce(const Context& context, Communicator& communicator, const Tensor& features,
                                const InfoNce& whole) {
  const int64_t leaves = features.shape()[0];
  const int64_t rows = features.shape()[1];
  return compare_leaves(
      context, communicator, features,
      {.facts = 1,
       .queries =
           [&](int64_t leaf, const Tensor& facts, const Tensor& d_queries) {
             return info_nce(context, query_rows(whole, leaf * rows, rows), facts.reshape({rows}), d_queries);
           },
       .keys =
           [&](int64_t leaf, const Tensor& facts, const Tensor& d_keys) {
             info_nce_key_gradient(context, whole, facts.reshape({leaves * rows}), leaf * rows, d_keys);
           }});
}

}  // namespace

FeatureLoss nt_xent(const Context& context, Communicator& communicator, const Tensor& features, float temperature) {
  return compare_by_info_nce(context, communicator, features, two_views(context, features, temperature));
}

FeatureLoss supervised_contrastive(const Context& context, Communicator& communicator, const Tensor& features,
                                   std::span<const int32_t> classes, float temperature) {
  InfoNce whole = two_views(context, features, temperature);
  const int64_t rows = features.shape()[1];
  const int64_t all = features.shape()[0] * rows;
  std::map<int32_t, int32_t> views;
  for (const int32_t one : classes) views[one] += 2;
  const auto of_views = [&](auto&& value) {
    return integers_of(context, {all}, [&](int32_t* values) {
      CHECK_EQ(static_cast<int64_t>(classes.size()), all / 2);
      for (int64_t i = 0; i < all; ++i) {
        values[i] = value(i, classes[static_cast<size_t>(i / rows * (rows / 2) + i % (rows / 2))]);
      }
    });
  };
  whole.query_classes = whole.key_classes = of_views([](int64_t, int32_t own) { return own; });
  whole.positive_counts = of_views([&](int64_t, int32_t own) { return views[own] - 1; });
  // A view leaves out itself alone.
  whole.query_groups = whole.key_groups = of_views([](int64_t i, int32_t) { return static_cast<int32_t>(i); });
  return compare_by_info_nce(context, communicator, features, whole);
}

FeatureLoss view_triplets(const Context& context, Communicator& communicator, const Tensor& features, TripletForm form,
                          float margin, float temperature) {
  const Triplets whole{two_views(context, features, temperature), form, margin};
  const int64_t rows = features.shape()[1];
  return compare_leaves(
      context, communicator, features,
      {.facts = kTripletFacts,
       .queries =
           [&](int64_t leaf, const Tensor& facts, const Tensor& d_queries) {
             Triplets part = whole;
             part.pairs = query_rows(whole.pairs, leaf * rows, rows);
             return triplet(context, part, facts, d_queries);
           },
       .keys = [&](int64_t leaf, const Tensor& facts,
                   const Tensor& d_keys) { triplet_key_gradient(context, whole, facts, leaf * rows, d_keys); }});
}

}  // namespace tsugi
