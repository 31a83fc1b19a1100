"""The release register: what was released when, what it is trusted for, and the sources that say so."""
