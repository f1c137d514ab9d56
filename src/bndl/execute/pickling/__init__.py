"""Values as pickles in which the classes and functions of the user's script keep their identity.

A worker can import most classes and functions. It cannot import those of ``__main__``, those that a function defines,
and those of modules that only the driver has. Such an object is *dynamic*. The process that defined it is its *home*
and gives it a key: (home, number). A pickle refers to dynamic objects by their keys. Their definitions travel beside
the pickle, in a section of their own::

    value --Pickler--> pickle with references ----------------------------> loads --> value
               |                                                              ^
          Definitions --> section: keys, skeletons, states --Loading--> objects by reference

- The receiver that is the home of an object takes the live object. It does not unpickle the definitions at all if it
  has all objects that the pickle refers to.
- Another receiver makes what it lacks, and brings what it has up to date if the sender is the home.

``identity`` has the keys, ``modules`` tells what workers can import, ``pickler`` decides how each object travels,
``sections`` collects and writes definitions, ``loading`` reads them, and ``functions``, ``classes``, ``enums`` and
``named`` know the kinds of definitions.
"""
