#include <cstdint>
#include <string>
#include <vector>

#include "core/config/config.h"
#include "core/config/families.h"
#include "core/config/schema.h"
#include "core/optim/schedule.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

void check_batch(const RunConfig& config, std::vector<std::string>& complaints) {
  const BatchConfig& batch = config.batch();
  if (batch.sequence() > config.model().context()) {
    complaints.push_back(with_value("batch.sequence", batch.sequence()) + " is longer than " +
                         with_value("model.context", config.model().context()));
  }
  // Samples and tokens are counted in 64 bits, with room for the sums that indexing makes.
  __extension__ using Wide = __int128;
  const Wide tokens = Wide{batch.micro_batch()} * batch.micro_batches() * batch.sequence() * config.steps();
  if (tokens > INT64_MAX / 4) {
    complaints.push_back(with_value("steps", config.steps()) +
                         " of this batch are more tokens than can be counted (2^61): lower steps");
  }
}

void check_adapter(const AdapterConfig& adapter, std::vector<std::string>& complaints) {
  if (adapter.bottleneck() == 0) {
    if (adapter.placement() != AdapterConfig::FEED_FORWARD) {
      complaints.push_back("adapter.placement has a meaning with adapter.bottleneck only");
    }
    return;
  }
  if (adapter.rank() > 0) complaints.push_back("adapter.rank and adapter.bottleneck exclude each other");
  if (!adapter.targets().empty() || adapter.alpha() > 0.0f) {
    complaints.push_back("adapter.targets and adapter.alpha have a meaning with adapter.rank only");
  }
}

void check_schedule(const RunConfig& config, std::vector<std::string>& complaints) {
  const ScheduleConfig& schedule = config.schedule();
  const int64_t steps = config.steps();
  if (schedule.warmup_steps() > steps) {
    complaints.push_back(with_value("schedule.warmup_steps", schedule.warmup_steps()) + " is more than " +
                         with_value("steps", steps));
  }
  if (schedule.kind() != ScheduleConfig::WSD) {
    if (schedule.decay_steps() != 0) {
      complaints.push_back(with_value("schedule.decay_steps", schedule.decay_steps()) +
                           " has a meaning for kind WSD only");
    }
    return;
  }
  const int64_t decay = resolved_decay_steps(schedule, steps);
  if (schedule.warmup_steps() <= steps && decay > steps - schedule.warmup_steps()) {
    complaints.push_back(with_value("schedule.warmup_steps", schedule.warmup_steps()) + " and " +
                         with_value("schedule.decay_steps", decay) + " together are more than " +
                         with_value("steps", steps));
  }
}

/// Objectives of pictures.
void check_images(const RunConfig& config, std::vector<std::string>& complaints) {
  const ObjectiveConfig& objective = config.objective();
  const std::string name = objective.GetDescriptor()->FindFieldByNumber(objective.kind_case())->name();
  if (config.model().family() != ModelConfig::VIT) {
    complaints.push_back("objective." + name + " learns from images: set model.family: VIT");
  }
  if (config.data().mixture_size() > 0 || !config.evaluation().multiple_choice().empty()) {
    complaints.push_back("objective." + name + " takes one data.train, and no evaluation.multiple_choice");
  }
  if (config.batch().sequence() != config.model().context()) {
    complaints.push_back(with_value("batch.sequence", config.batch().sequence()) +
                         " must be left out: an image has as many tokens as it has");
  }
  if (!objective.has_simclr()) return;
  if (config.batch().micro_batch() < 2) {
    complaints.push_back(
        with_value("batch.micro_batch", config.batch().micro_batch()) +
        " leaves nothing to compare with: objective.simclr needs two images or more, so that a view has "
        "two negatives");
  }
  const Augmentation& views = objective.simclr().augmentation();
  if (views.smallest_crop() >= 1.0f && views.flip() == 0.0f && views.brightness() == 0.0f && views.contrast() == 0.0f &&
      views.blur() == 0.0f) {
    complaints.push_back(
        "objective.simclr.augmentation changes nothing, so that both views of an image are equal: set smallest_crop "
        "(0.08 for photographs) or others of its fields");
  }
}

void check_objective(const RunConfig& config, std::vector<std::string>& complaints) {
  const ModelConfig& model = config.model();
  if (learns_from_images(config.objective())) return check_images(config, complaints);
  if (model.family() == ModelConfig::VIT) {
    complaints.push_back(
        "model.family VIT reads images: set objective { image_classification {} }, rotation or simclr");
    return;
  }
  if (!config.objective().has_masked_lm()) {
    if (model.bidirectional()) {
      complaints.push_back(
          "objective.causal_lm predicts a token from those before it, but model.bidirectional is true, so that every "
          "token sees the next: set objective { masked_lm {} }");
    }
    return;
  }
  const MaskedLanguageModel& masked = config.objective().masked_lm();
  if (!model.bidirectional()) {
    complaints.push_back(
        "objective.masked_lm restores tokens from both sides, but model.bidirectional is false: take an encoder "
        "(model.family BERT, ROBERTA or DISTILBERT), or set model.bidirectional");
  }
  if (is_bert_like(model) && !model.head_transform()) {
    complaints.push_back("objective.masked_lm needs model.head_transform in family " +
                         ModelConfig::Family_Name(model.family()));
  }
  if (masked.mask_share() + masked.random_share() > 1.0) {
    complaints.push_back("objective.masked_lm.mask_share and random_share are more than 1 together");
  }
  if (!config.evaluation().multiple_choice().empty()) {
    complaints.push_back(
        "evaluation.multiple_choice asks for the likeliest continuation, which objective.masked_lm "
        "does not learn");
  }
}

}  // namespace

bool learns_from_images(const ObjectiveConfig& objective) {
  return objective.has_image_classification() || objective.has_rotation() || objective.has_simclr();
}

void validate_run(RunConfig& config) {
  resolve_family(*config.mutable_model());
  if (config.batch().sequence() == 0) config.mutable_batch()->set_sequence(config.model().context());
  if (config.objective().kind_case() == ObjectiveConfig::KIND_NOT_SET) {
    config.mutable_objective()->mutable_causal_lm();
  }
  std::vector<std::string> complaints = model_complaints(config.model());
  if (!config.data().train().empty() && config.data().mixture_size() > 0) {
    complaints.push_back("data.train and data.mixture exclude each other: name all sources in the mixture");
  }
  check_adapter(config.adapter(), complaints);
  check_objective(config, complaints);
  check_batch(config, complaints);
  check_schedule(config, complaints);
  if (!complaints.empty()) throw Error(ExitCode::kUsage, join(complaints, "\n"));
}

}  // namespace tsugi
