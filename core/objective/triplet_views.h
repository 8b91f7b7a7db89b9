// Metric learning by triplets (Schroff et al. 2015): a view is nearer to the other view of its picture than to every
// view of another one in the global batch, by a margin or by a logistic loss.
#pragma once

#include "core/objective/two_views.h"
#include "core/objective/view_losses.h"

namespace tsugi {

class TripletObjective : public TwoViews {
 public:
  TripletObjective(ImageBatches batches, const Triplet& config)
      : TwoViews(std::move(batches), config.projection_width()), config_(config) {}

  const char* name() const override { return "triplet"; }

 protected:
  FeatureLoss compare_features(const Context& context, Communicator& communicator, const Tensor& features,
                               std::span<const int32_t> numbers) const override {
    (void)numbers;
    // Half: differences of products of unit rows as differences of squared distances.
    if (config_.form() == Triplet::MARGIN) {
      return view_triplets(context, communicator, features, TripletForm::kMargin, config_.margin(), 0.5f);
    }
    return view_triplets(context, communicator, features, TripletForm::kLogistic, 0.0f, config_.temperature());
  }

 private:
  Triplet config_;
};

}  // namespace tsugi
