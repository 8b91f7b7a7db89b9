// What the parts of `tsugi evaluate` share.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launch/command_line.h"
#include "launch/device_options.h"
#include "launch/instruction_data.h"

namespace tsugi {

struct EvaluateOptions {
  std::string checkpoint;
  std::string tokens;
  std::string questions;
  std::string instructions;
  InstructionArguments reading;
  std::string labelled;
  std::string predictions;
  int64_t sequence = 0;
  int64_t limit = 0;
  std::string logits;
  int64_t mask_token = -1;
  double mask_probability = 0.15;
  double mask_share = 0.8;
  double random_share = 0.1;
  double mean_span = 3.0;
  bool next_sentence = false;
  double short_share = 0.1;
  int threads = 0;
  DeviceArguments computing;
  bool json = false;
  std::vector<Option> of_encoders;           ///< flags without a meaning for other models
  std::vector<Option> of_spans;              ///< for models without a decoder
  std::vector<Option> of_encoders_or_spans;  ///< for models that do neither
};

/// Labels texts with a classifier. Returns the exit code.
int evaluate_labelled(const EvaluateOptions& options);
/// Answers multiple-choice questions. Returns the exit code.
int evaluate_questions(const EvaluateOptions& options);

}  // namespace tsugi
