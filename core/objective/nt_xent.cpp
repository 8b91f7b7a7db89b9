#include "core/objective/nt_xent.h"

#include "ops/reduce/reduce.h"

namespace tsugi {
namespace {

/// Who belongs to whom among the rows of [M, 2·images]: the group is the image.
struct TwoViews {
  Tensor positives;
  Tensor groups;
};

TwoViews two_views(const Context& context, int64_t leaves, int64_t images) {
  const int64_t rows = 2 * images;
  const TwoViews views{context.empty({leaves * rows}, DType::kI32), context.empty({leaves * rows}, DType::kI32)};
  if (context.meta()) return views;
  for (int64_t leaf = 0; leaf < leaves; ++leaf) {
    for (int64_t row = 0; row < rows; ++row) {
      views.positives.data<int32_t>()[leaf * rows + row] =
          static_cast<int32_t>(leaf * rows + (row < images ? row + images : row - images));
      views.groups.data<int32_t>()[leaf * rows + row] = static_cast<int32_t>(leaf * images + row % images);
    }
  }
  return views;
}

/// Parts of a buffer by rank: `bytes` per leaf.
void gather_parts(Communicator& communicator, void* buffer, int64_t leaves, size_t bytes) {
  std::vector<size_t> offsets;
  for (int rank = 0; rank < communicator.size(); ++rank) {
    offsets.push_back(static_cast<size_t>(leaves_of_rank(leaves, communicator.size(), rank).begin) * bytes);
  }
  offsets.push_back(static_cast<size_t>(leaves) * bytes);
  communicator.all_gather(buffer, std::move(offsets))->wait();
}

}  // namespace

void gather_leaves(Communicator& communicator, const Tensor& features) {
  const int64_t leaves = features.shape()[0];
  gather_parts(communicator, features.raw(), leaves, features.bytes() / static_cast<size_t>(leaves));
}

FeatureLoss nt_xent(const Context& context, Communicator& communicator, const Tensor& features, float temperature) {
  CHECK_EQ(features.shape().rank(), 3);
  const int64_t leaves = features.shape()[0];
  const int64_t rows = features.shape()[1];
  const int64_t width = features.shape()[2];
  CHECK(rows % 2 == 0 && leaves * rows >= 4) << "a view needs the views of another image to compare with";
  const LeafRange own = leaves_of_rank(leaves, communicator.size(), communicator.rank());
  const TwoViews views = two_views(context, leaves, rows / 2);
  const Tensor all = features.reshape({leaves * rows, width});
  const auto of_leaf = [&](int64_t leaf) {
    return InfoNce{
        all.slice(leaf * rows * width, {rows, width}), all,          views.positives.slice(leaf * rows, {rows}),
        views.groups.slice(leaf * rows, {rows}),       views.groups, temperature};
  };

  FeatureLoss result;
  result.gradient = context.empty({own.leaves(), rows, width}, DType::kF32);
  const Tensor log_sums = context.empty({leaves * rows}, DType::kF64);
  for (int64_t leaf = own.begin; leaf < own.end; ++leaf) {
    const Tensor as_queries = result.gradient.slice((leaf - own.begin) * rows * width, {rows, width});
    result.losses.push_back(info_nce(context, of_leaf(leaf), log_sums.slice(leaf * rows, {rows}), as_queries).loss);
  }
  gather_parts(communicator, log_sums.raw(), leaves, static_cast<size_t>(rows) * sizeof(double));

  const InfoNce whole{all, all, views.positives, views.groups, views.groups, temperature};
  const Tensor as_keys = context.empty({rows, width}, DType::kF32);
  for (int64_t leaf = own.begin; leaf < own.end; ++leaf) {
    info_nce_key_gradient(context, whole, log_sums, leaf * rows, as_keys);
    add_in_place(context, result.gradient.slice((leaf - own.begin) * rows * width, {rows, width}), as_keys);
  }
  return result;
}

InfoNceSum nt_xent(const Context& context, const Tensor& features, float temperature, const Tensor& gradient) {
  CHECK_EQ(features.shape().rank(), 2);
  const int64_t rows = features.shape()[0];
  CHECK_EQ(rows % 2, 0);
  const TwoViews views = two_views(context, 1, rows / 2);
  const InfoNce problem{features, features, views.positives, views.groups, views.groups, temperature};
  const Tensor log_sums = context.empty({rows}, DType::kF64);
  const InfoNceSum sum = info_nce(context, problem, log_sums, gradient);
  if (gradient.defined()) {
    const Tensor as_keys = context.empty(features.shape(), DType::kF32);
    info_nce_key_gradient(context, problem, log_sums, 0, as_keys);
    add_in_place(context, gradient, as_keys);
  }
  return sum;
}

}  // namespace tsugi
