-- What only dbt's own compiling knows: the graph, its command, its selection.
select
  {{ flags.WHICH == invocation_args_dict.which == 'compile' }} as command,
  {{ selected_resources | length }} as resources
  {%- for node in graph.nodes.values() | selectattr('resource_type', 'equalto', 'model') | sort(attribute='name') %},
  1 as has_{{ node.name }}
  {%- endfor %}
