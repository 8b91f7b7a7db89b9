#include "core/objective/objective.h"

namespace tsugi {

Variable Objective::features(Tape& tape, const Transformer& model, const Batch& batch,
                             const ForwardOptions& options) const {
  (void)tape, (void)model, (void)batch, (void)options;
  LOG(FATAL) << name() << " compares no features";
}

FeatureLoss Objective::compare(const Context& context, Communicator& communicator, const Tensor& all,
                               uint64_t first_sample) const {
  (void)context, (void)communicator, (void)all, (void)first_sample;
  LOG(FATAL) << name() << " compares no features";
}

}  // namespace tsugi
