// From command lines to prompts and responses.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/objective/instruction_tuning.h"
#include "launch/command_line.h"
#include "launch/model_folder.h"

namespace tsugi {

/// How lines of JSON become examples, as a command line says it.
struct InstructionArguments {
  std::string prompt_field = "prompt";
  std::string response_field;
  std::string prompt_template = "{prompt}";
  std::string chat = "auto";
  std::string too_long = "cut";
};
std::vector<Option> add_instruction_options(Command command, InstructionArguments& arguments);

/// What is needed beside `arguments` to read examples for a model.
struct InstructionReading {
  std::vector<std::string> train;       ///< files, patterns or folders; may be empty
  std::vector<std::string> validation;  ///< empty: see validation_fraction
  double validation_fraction = 0.0;     ///< of the training examples, held out when `validation` is empty
  int64_t sequence = 0;                 ///< places in a row; 0: what the longest example takes, packed the context
  bool packed = false;
  uint64_t seed = 0;
};

/// Examples, and what became of those that are none.
struct InstructionCounts {
  int64_t examples = 0;
  int64_t scored = 0;    ///< tokens to learn
  int64_t cut = 0;       ///< of the examples, at the end of the sequence
  int64_t too_long = 0;  ///< left out
  int64_t empty = 0;     ///< left out: no response
};

struct InstructionTask {
  std::unique_ptr<Objective> objective;
  int64_t rows = 0;  ///< that one epoch has
  InstructionCounts train;
  InstructionCounts validation;
};

/// Of a model with a decoder the encoder reads the prompt, of at most as many tokens as the response. Throws
/// Error(kUsage) when the sequence is longer than the model's context, or rows are packed for such a model or one with
/// learned positions.
InstructionTask read_instruction_task(const InstructionReading& reading, const InstructionArguments& arguments,
                                      const ModelFolder& opened);

/// The least multiple of 32 places that hold `longest` tokens: few shapes, so that few kernels are made.
inline int64_t rounded_sequence(int64_t longest) { return (longest + 31) / 32 * 32; }

/// A line for people.
std::string describe(const InstructionCounts& counts);

}  // namespace tsugi
