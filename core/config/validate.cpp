#include <algorithm>
#include <cmath>
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
  const int64_t in_micro_batch = int64_t{batch.micro_batch()} * batch.sequence();
  if (in_micro_batch > INT32_MAX) {
    complaints.push_back(with_value("batch.micro_batch", batch.micro_batch()) + " of " +
                         with_value("batch.sequence", batch.sequence()) +
                         " are 2^31 tokens or more at once: lower it, and raise batch.micro_batches");
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
  if (adapter.bottleneck() == 0 && adapter.placement() != AdapterConfig::FEED_FORWARD) {
    complaints.push_back("adapter.placement has a meaning with adapter.bottleneck only");
  }
  if (adapter.rank() > 0 && adapter.bottleneck() > 0) {
    complaints.push_back("adapter.rank and adapter.bottleneck exclude each other");
  }
  if (adapter.rank() == 0 && (!adapter.targets().empty() || adapter.alpha() > 0.0f)) {
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

std::string objective_name(const RunConfig& config) {
  const ObjectiveConfig& objective = config.objective();
  return objective.GetDescriptor()->FindFieldByNumber(objective.kind_case())->name();
}

/// The changes that two views of a picture must differ by; null for objectives without.
const Augmentation* views_of(const ObjectiveConfig& objective) {
  switch (objective.kind_case()) {
    case ObjectiveConfig::kSimclr:
      return &objective.simclr().augmentation();
    case ObjectiveConfig::kTriplet:
      return &objective.triplet().augmentation();
    case ObjectiveConfig::kMoco:
      return &objective.moco().augmentation();
    case ObjectiveConfig::kAmdim:
      return &objective.amdim().augmentation();
    default:
      return nullptr;
  }
}

void check_queue(const RunConfig& config, std::vector<std::string>& complaints) {
  const int64_t queue = config.objective().moco().queue();
  const int64_t batch = int64_t{config.batch().micro_batch()} * config.batch().micro_batches();
  if (queue % batch != 0) {
    complaints.push_back(with_value("objective.moco.queue", queue) + " is not a multiple of the global batch, " +
                         std::to_string(batch) +
                         " (batch.micro_batch · batch.micro_batches), whose keys replace the oldest ones: set it to " +
                         std::to_string((queue / batch + 1) * batch));
  }
  if (config.numerics().compute() != NumericsConfig::FP32) {
    complaints.push_back(
        "objective.moco needs numerics.compute FP32: the second encoder follows the weights more slowly than bf16 can "
        "tell");
  }
  if (config.adapter().rank() > 0 || config.adapter().bottleneck() > 0) {
    complaints.push_back("objective.moco trains whole weights, which its second encoder follows: leave out adapter");
  }
}

void check_prediction(const RunConfig& config, std::vector<std::string>& complaints) {
  if (config.model().bidirectional()) {
    complaints.push_back(
        "objective.cpc predicts patches from those before them, but model.bidirectional is true, so that every patch "
        "is "
        "seen: set model.bidirectional: false and model.pooling: MEAN_OF_PATCHES");
  }
  const int64_t patches = config.model().context() - 1;
  if (config.objective().cpc().steps() >= patches) {
    complaints.push_back(with_value("objective.cpc.steps", config.objective().cpc().steps()) +
                         " must be less than the number of patches, " + std::to_string(patches));
  }
}

/// Objectives that compare samples of a batch.
void check_contrast(const RunConfig& config, const std::string& name, std::vector<std::string>& complaints) {
  const ObjectiveConfig& objective = config.objective();
  const bool two_views = views_of(objective) != nullptr || objective.has_supervised_contrastive();
  if (objective.has_moco()) {
    check_queue(config, complaints);
  } else if ((two_views || objective.has_clip() || objective.has_cpc() || objective.has_dim()) &&
             config.batch().micro_batch() < 2) {
    complaints.push_back(with_value("batch.micro_batch", config.batch().micro_batch()) +
                         " leaves nothing to compare with: objective." + name +
                         " needs two images or more, so that a view has two negatives");
  }
  if (objective.has_clip() && objective.clip().text_width() % objective.clip().text_heads() != 0) {
    complaints.push_back(with_value("objective.clip.text_width", objective.clip().text_width()) +
                         " is not a multiple of " +
                         with_value("objective.clip.text_heads", objective.clip().text_heads()));
  }
  if (objective.has_cpc()) check_prediction(config, complaints);
  if (objective.has_dim() && objective.dim().global_weight() <= 0.0 && objective.dim().local_weight() <= 0.0) {
    complaints.push_back("objective.dim.global_weight and local_weight are 0: nothing is left to learn");
  }
  const Augmentation* const views = views_of(objective);
  if (views != nullptr && views->smallest_crop() >= 1.0f && views->flip() == 0.0f && views->brightness() == 0.0f &&
      views->contrast() == 0.0f && views->blur() == 0.0f) {
    complaints.push_back("objective." + name +
                         ".augmentation changes nothing, so that both views of an image are equal: set smallest_crop "
                         "(0.08 for photographs) or others of its fields");
  }
}

void check_jigsaw(RunConfig& config, std::vector<std::string>& complaints) {
  JigsawPuzzle& puzzle = *config.mutable_objective()->mutable_jigsaw();
  const ModelConfig& model = config.model();
  if (model.image_size() % (puzzle.tiles() * model.patch_size()) != 0) {
    complaints.push_back(with_value("model.image_size", model.image_size()) + " is not a multiple of " +
                         with_value("objective.jigsaw.tiles", puzzle.tiles()) + " times " +
                         with_value("model.patch_size", model.patch_size()) + ": a tile is made of whole patches");
  }
  if (puzzle.permutations() == 0) puzzle.set_permutations(puzzle.tiles() == 2 ? 24 : 100);
  if (puzzle.permutations() == 1) complaints.push_back("objective.jigsaw.permutations: 1 leaves nothing to tell apart");
  if (puzzle.tiles() == 2 && puzzle.permutations() > 24) {
    complaints.push_back(with_value("objective.jigsaw.permutations", puzzle.permutations()) +
                         " is more than the 24 orders that four tiles have");
  }
}

void check_relative_position(const RunConfig& config, std::vector<std::string>& complaints) {
  const ModelConfig& model = config.model();
  const float gap = config.objective().relative_position().gap();
  const int64_t between = static_cast<int64_t>(gap * static_cast<float>(model.patch_size()));
  const int64_t needed = int64_t{3} * model.patch_size() + 2 * between;
  if (needed > model.image_size()) {
    complaints.push_back("objective.relative_position needs three patches with gaps across, " + std::to_string(needed) +
                         " pixels of patches of " + with_value("model.patch_size", model.patch_size()) +
                         ", more than " + with_value("model.image_size", model.image_size()));
  }
}

void check_masked_autoencoder(const RunConfig& config, std::vector<std::string>& complaints) {
  const MaskedAutoencoder& masked = config.objective().masked_autoencoder();
  const int64_t patches = int64_t{config.model().context()} - 1;
  const double hidden = std::round(masked.mask_ratio() * static_cast<double>(patches));
  if (hidden < 1.0 || hidden >= static_cast<double>(patches)) {
    complaints.push_back("objective.masked_autoencoder.mask_ratio hides " +
                         std::to_string(static_cast<int64_t>(hidden)) + " of " + std::to_string(patches) +
                         " patches: one must be hidden, and one be seen");
  }
  if (masked.decoder_width() % config.model().heads() != 0) {
    complaints.push_back(with_value("objective.masked_autoencoder.decoder_width", masked.decoder_width()) +
                         " is not a multiple of " + with_value("model.heads", config.model().heads()));
  }
}

/// Objectives of pictures.
void check_images(RunConfig& config, std::vector<std::string>& complaints) {
  const ObjectiveConfig& objective = config.objective();
  const std::string name = objective_name(config);
  if (config.model().family() != ModelConfig::VIT) {
    complaints.push_back("objective." + name + " learns from images: set model.family: VIT");
    return;
  }
  if (config.data().mixture_size() > 0 || !config.evaluation().multiple_choice().empty()) {
    complaints.push_back("objective." + name + " takes one data.train, and no evaluation.multiple_choice");
  }
  if (config.batch().sequence() != config.model().context()) {
    complaints.push_back(with_value("batch.sequence", config.batch().sequence()) +
                         " must be left out: an image has as many tokens as it has");
  }
  check_contrast(config, name, complaints);
  if (config.model().patch_size() < 1) return;  // which is complained of elsewhere
  if (objective.has_jigsaw()) check_jigsaw(config, complaints);
  if (objective.has_relative_position()) check_relative_position(config, complaints);
  if (objective.has_masked_autoencoder()) check_masked_autoencoder(config, complaints);
}

/// Objectives of encoder–decoders.
void check_pairs(const RunConfig& config, std::vector<std::string>& complaints) {
  const ObjectiveConfig& objective = config.objective();
  const std::string name = "objective." + objective_name(config);
  if (!has_decoder(config.model())) {
    complaints.push_back(name + " needs an encoder and a decoder: set model.family: T5");
  }
  if (config.data().packing() != DataConfig::CONTINUOUS || config.data().documents() != DataConfig::JOINED) {
    complaints.push_back(name + " takes data.packing: CONTINUOUS and data.documents: JOINED, nothing else is built");
  }
  if (!config.evaluation().multiple_choice().empty()) {
    complaints.push_back("evaluation.multiple_choice asks for the likeliest continuation, which " + name +
                         " does not learn");
  }
  if (objective.has_sequence_to_sequence()) {
    const SequenceToSequence& pairs = objective.sequence_to_sequence();
    if (config.data().mixture_size() > 0) complaints.push_back(name + " takes one data.train, and no data.mixture");
    if (pairs.response_sequence() > config.model().context()) {
      complaints.push_back(with_value(name + ".response_sequence", pairs.response_sequence()) + " is longer than " +
                           with_value("model.context", config.model().context()));
    }
  }
  if (!objective.has_denoising()) return;
  if (objective.denoising().denoiser_size() == 0) {
    complaints.push_back("objective.denoising has no denoiser: each rule is a block denoiser { … }");
  }
  for (int i = 0; i < objective.denoising().denoiser_size(); ++i) {
    const Denoiser& rule = objective.denoising().denoiser(i);
    const std::string path = "objective.denoising.denoiser[" + std::to_string(i) + "]";
    if (rule.inputs() == Denoiser::MASK && rule.mask_token() < 0) {
      complaints.push_back(path + ".mask_token is required for inputs: MASK");
    }
    if (rule.inputs() != Denoiser::MASK && rule.mask_token() >= 0) {
      complaints.push_back(path + ".mask_token has a meaning with inputs: MASK only");
    }
    if (rule.inputs() == Denoiser::DROP && rule.noise() != Denoiser::SUFFIX && rule.targets() == Denoiser::NOISE) {
      complaints.push_back(path +
                           ": nothing says where the noise was: inputs DROP with targets NOISE is for noise "
                           "SUFFIX");
    }
  }
}

/// Resolves the size of the generator.
void check_replaced_tokens(RunConfig& config, std::vector<std::string>& complaints) {
  const ModelConfig& model = config.model();
  const std::string name = "objective.replaced_token_detection";
  if (model.family() != ModelConfig::ELECTRA || !model.discriminator() || model.head_transform()) {
    complaints.push_back(name +
                         " trains a discriminator: set model.family: ELECTRA (with model.discriminator, and without "
                         "model.head_transform)");
    return;
  }
  if (!config.evaluation().multiple_choice().empty()) {
    complaints.push_back("evaluation.multiple_choice asks for the likeliest continuation, which " + name +
                         " does not learn");
  }
  ReplacedTokenDetection& replaced = *config.mutable_objective()->mutable_replaced_token_detection();
  if (replaced.generator_width() == 0) replaced.set_generator_width(std::max(model.width() / 4, 1));
  if (replaced.generator_heads() == 0) {
    replaced.set_generator_heads(std::max(replaced.generator_width() / std::max(model.head_dim(), 1), 1));
  }
  if (replaced.generator_layers() < 0) replaced.set_generator_layers(model.layers());
  if (replaced.generator_width() % replaced.generator_heads() != 0) {
    complaints.push_back(with_value(name + ".generator_width", replaced.generator_width()) + " is not a multiple of " +
                         with_value(name + ".generator_heads", replaced.generator_heads()));
  }
}

void check_next_sentence(const RunConfig& config, std::vector<std::string>& complaints) {
  const std::string name = "objective.masked_lm.next_sentence";
  const ModelConfig& model = config.model();
  if (model.family() != ModelConfig::BERT) {
    complaints.push_back(name + " needs model.family: BERT");
  } else if (!model.next_sentence_head()) {
    complaints.push_back(name +
                         " needs what tells pairs apart: set model.pooler: true and model.next_sentence_head: true");
  } else if (model.segments() < 2) {
    complaints.push_back(name + " needs " + with_value("model.segments", model.segments()) + " to be 2 or more");
  }
  if (config.batch().sequence() < 5) {
    complaints.push_back(with_value("batch.sequence", config.batch().sequence()) +
                         " has no room for [CLS], two pieces of text and a [SEP] behind each: " + name + " needs 5");
  }
  if (config.data().mixture_size() > 0) complaints.push_back(name + " takes one data.train, and no data.mixture");
  if (config.data().packing() != DataConfig::CONTINUOUS || config.data().documents() != DataConfig::JOINED) {
    complaints.push_back(name + " makes rows of pairs: leave out data.packing and data.documents");
  }
}

void check_objective(RunConfig& config, std::vector<std::string>& complaints) {
  const ModelConfig& model = config.model();
  if (learns_pairs(config.objective())) return check_pairs(config, complaints);
  if (has_decoder(model)) {
    complaints.push_back("objective." + objective_name(config) +
                         " is not built for an encoder with a decoder (model.family T5): set objective { "
                         "span_corruption {} }, denoising or sequence_to_sequence");
    return;
  }
  if (learns_from_images(config.objective())) return check_images(config, complaints);
  if (model.family() == ModelConfig::VIT) {
    complaints.push_back(
        "model.family VIT reads images: set objective { image_classification {} }, or another one of images");
    return;
  }
  if (config.objective().has_replaced_token_detection()) return check_replaced_tokens(config, complaints);
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
  if (masked.next_sentence()) check_next_sentence(config, complaints);
  if (!config.evaluation().multiple_choice().empty()) {
    complaints.push_back(
        "evaluation.multiple_choice asks for the likeliest continuation, which objective.masked_lm "
        "does not learn");
  }
}

}  // namespace

bool learns_from_images(const ObjectiveConfig& objective) {
  switch (objective.kind_case()) {
    case ObjectiveConfig::kImageClassification:
    case ObjectiveConfig::kRotation:
    case ObjectiveConfig::kSimclr:
    case ObjectiveConfig::kSupervisedContrastive:
    case ObjectiveConfig::kTriplet:
    case ObjectiveConfig::kMoco:
    case ObjectiveConfig::kClip:
    case ObjectiveConfig::kCpc:
    case ObjectiveConfig::kJigsaw:
    case ObjectiveConfig::kRelativePosition:
    case ObjectiveConfig::kMaskedAutoencoder:
    case ObjectiveConfig::kDim:
    case ObjectiveConfig::kAmdim:
      return true;
    default:
      return false;
  }
}

bool learns_pairs(const ObjectiveConfig& objective) {
  return objective.has_span_corruption() || objective.has_denoising() || objective.has_sequence_to_sequence();
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
  if (config.compute().attention() != ComputeConfig::MMA && config.model().dropout() > 0.0f) {
    complaints.push_back("compute.attention: " + ComputeConfig::Attention_Name(config.compute().attention()) +
                         " is not built with dropout: set model.dropout: 0, or compute.attention: MMA");
  }
  check_adapter(config.adapter(), complaints);
  check_objective(config, complaints);
  check_batch(config, complaints);
  check_schedule(config, complaints);
  if (!complaints.empty()) throw Error(ExitCode::kUsage, join(complaints, "\n"));
}

}  // namespace tsugi
