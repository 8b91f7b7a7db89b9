// --set path=value.
#pragma once

#include <google/protobuf/message.h>

#include <string>
#include <string_view>

namespace tsugi {

/// Sets one field by its path ("optimizer.learning_rate=3e-4") and returns the path. Strings need no quotes, enums go
/// by name; blocks on the way are created. `origin` begins the messages. Throws Error(kUsage).
std::string apply_override(std::string_view assignment, const std::string& origin, google::protobuf::Message& message);

}  // namespace tsugi
