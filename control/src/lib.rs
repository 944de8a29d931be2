//! sipcast's control plane: REST, SIP and the use-cases between them
