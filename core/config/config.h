// Reading configurations: strict text format, limits from the schema, overrides from the command line.
#pragma once

#include <google/protobuf/message.h>

#include <string>
#include <vector>

#include "core/config/run.pb.h"

namespace tsugi {

/// Reads `path` into `message`, applies `overrides` ("optimizer.learning_rate=3e-4"), fills absent fields with their
/// presets and checks ranges and required fields. Throws Error(kUsage) naming file, line, field, reason, and for an
/// unknown field the nearest valid name.
void load_config(const std::string& path, const std::vector<std::string>& overrides,
                 google::protobuf::Message& message);

/// The same from text; `origin` stands for the file in messages.
void parse_config(const std::string& text, const std::string& origin, const std::vector<std::string>& overrides,
                  google::protobuf::Message& message);

/// Rules between fields of a run: width divisible by heads, sequence within context, warm-up within steps …
/// Resolves 0 in batch.sequence. Throws Error(kUsage).
void validate_run(RunConfig& config);

/// Whether the objective takes pictures instead of tokens.
bool learns_from_images(const ObjectiveConfig& objective);

/// Whether the objective gives the model an input and a target of its own: what encoder–decoders learn.
bool learns_pairs(const ObjectiveConfig& objective);

/// Canonical text form of a message, fields in the order of the schema.
std::string to_text(const google::protobuf::Message& message);

}  // namespace tsugi
