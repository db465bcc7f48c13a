// Lets functions without a body be declared in this package; see waitFor.
