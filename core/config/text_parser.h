// Protobuf text format, with errors that a user can act on.
#pragma once

#include <google/protobuf/text_format.h>

#include <string>

namespace tsugi {

/// Parses `text` into `message` (cleared first) and notes in `locations` where each field was written. Throws
/// Error(kUsage) "ORIGIN:LINE:COLUMN: reason" for the first thing that is wrong. Fields are named by their whole path.
void parse_text(const std::string& text, const std::string& origin, google::protobuf::Message& message,
                google::protobuf::TextFormat::ParseInfoTree& locations);

}  // namespace tsugi
